"""The protocol broken on purpose, in named ways, and the test that notices each: `make mutate`.

mutants     what a mutant is
catalog     all of them: what each breaks, and the tests aimed at it
catalog_*   by the part of the protocol that they break
trial       a copy of the project with one mutant in it, and its tests run there
table       docs/mutations.md, written from the catalog
"""
