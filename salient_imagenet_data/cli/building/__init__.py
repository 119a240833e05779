"""What `build` is told of the network and of how to run, each as one record."""
