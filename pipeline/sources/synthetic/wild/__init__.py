"""People as photographs show them: independent instants, one to four people each, any camera, poses of real motion capture.

`settings` says what is made, `pose` and `clips` draw poses, `cameras` draws cameras, `stage` puts people on the floor, `held` gives
them things, `shutter` moves limbs while a picture is taken, `film` makes one picture and what is known
of it, `blocks` keeps the pictures of a task, `layout` joins the blocks to annotation files, `capture` is all of it as one form of a
capture. Nothing here knows of processes: `pipeline.synthesize` does.
"""
