"""Looking into a store: classes, features, images and masks, as pages of a server or as a site of files."""
