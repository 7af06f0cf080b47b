"""Synthetic captures: rendered people with true joints, which stand in for datasets where there are none. The demo and the tests read
them through the readers that datasets have.

There are two forms: `four_cameras`, people in motion in Human3.6M's annotation layout, and `wild`, pictures as people take them.
`begun` keeps what they have in common on disk, and `pipeline.synthesize` makes either. Training reads none of this;
`truth` gives true bodies to tests and reports only.
"""
