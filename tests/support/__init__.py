"""What the tests are built with: real servers, a proxy that breaks connections, processes, and ways to wait."""
