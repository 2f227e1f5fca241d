"""The face of the standard library's ssl: its contexts, sockets, certificates and errors."""
