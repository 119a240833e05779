"""Masks as certificates: do the pixels of a mask alone make a classifier answer the class?"""
