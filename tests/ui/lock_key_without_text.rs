use coco_core::prelude::*;

#[derive(LockKey)]
#[lock_key(group = "disk")]
struct DiskId(Vec<u8>);

fn main() {}
