"""What the tests are built with: real servers, a proxy that cuts replies, processes, ways to wait."""
