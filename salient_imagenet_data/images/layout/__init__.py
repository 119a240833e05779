"""What a folder of images is: its listing, ImageNet's layouts, and the one function that decides."""
