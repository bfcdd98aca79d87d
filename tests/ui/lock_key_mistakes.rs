use coco_core::prelude::*;

#[derive(LockKey)]
struct Missing(u8);

#[derive(LockKey)]
#[lock_key(group = "")]
struct Empty(u8);

#[derive(LockKey)]
#[lock_key(grup = "disk")]
struct Misspelt(u8);

#[derive(LockKey)]
#[lock_key(group = "disk")]
struct None;

#[derive(LockKey)]
#[lock_key(group = "disk")]
struct Two(u8, u16);

#[derive(LockKey)]
#[lock_key(group = "disk")]
struct Generic<T>(T);

#[derive(LockKey)]
#[lock_key(group = "disk")]
enum Either {
    This(u8),
}

fn main() {}
