# The wheel is built in one stage and installed in another, so that the image holds no build tools and no sources.
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY capelin ./capelin
RUN pip wheel --no-cache-dir --wheel-dir /wheels '.[top,uvloop]'

FROM python:3.11-slim
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels 'capelin[top,uvloop]' \
    && useradd --system --uid 10001 --no-create-home capelin
# The working directory is importable: an app copied or mounted here is found by `capelin worker <module>:<app>`.
WORKDIR /app
COPY examples ./examples
USER 10001
# SIGTERM, which `docker stop` sends, is a clean shutdown; allow it its grace time (25 s by default).
STOPSIGNAL SIGTERM
ENTRYPOINT ["capelin"]
CMD ["--help"]
