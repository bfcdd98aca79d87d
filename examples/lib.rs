//! The examples of coco; each file says how to run it.
