"""What a request passes before a route sees it: the socket, its connection, the guard and its path."""
