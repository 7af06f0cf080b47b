"""What the process keeps."""

import gc

import pytest

from pipeline.memory import keep_imports


def test_nothing_is_collected_while_modules_are_imported():
    before = gc.get_freeze_count()
    try:
        with pytest.raises(ImportError), keep_imports():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled() and gc.get_freeze_count() > before
    finally:
        gc.unfreeze()
