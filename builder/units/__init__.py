"""The units of a build: decoding, the network, and who runs them."""
