"""The data set on the Hugging Face Hub: export a store as a repository folder, publish it, find it again."""
