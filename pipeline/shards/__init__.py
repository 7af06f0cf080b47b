"""The shard contract: what a file of field samples holds, who writes it, who reads it, and who checks it."""

from pipeline.shards.store import ShardFolder, ShardReader, write_shard

__all__ = ["ShardFolder", "ShardReader", "write_shard"]
