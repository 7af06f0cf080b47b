"""From a person's points in one image to their joints in space: a small network that has seen nothing but posed bodies and cameras.

`network` is the network and how it is asked, `assets` its weights. `pipeline.build_lifter` makes them again, from nothing but this
program.
"""
