//! What the moves promise, tested with the kit of coco: whatever goes wrong, the image is moved
//! whole, or everything is as it was.

use std::fs;
use std::rc::Rc;

use coco_core::testing::{
    Case, End, crash_sweep, fail_each_child, run_each_twice, undo_each_twice,
};
use coco_store::SeaOrmStore;
use tempfile::TempDir;

use crate::commands::MoveDisk;
use crate::disk::Disk;
use crate::image::EXTENT;

/// Rows are stored under these names: a renamed command keeps its old one with `name = "…"`.
#[test]
fn the_stored_names_are_those_of_the_list() {
    let names = coco_core::stored_names().join("\n");
    assert_eq!(names, include_str!("stored_names.txt").trim_end());
}

#[tokio::test]
async fn a_crash_at_any_commit_changes_nothing() {
    let report = crash_sweep(|| {
        let folder = tempfile::tempdir().unwrap();
        let address = format!("sqlite://{}", folder.path().join("coco.db").display());
        case(is_moved).store(async move || {
            let _stays = &folder;
            SeaOrmStore::connect(&address).await
        })
    })
    .await;
    assert!(report.cases.len() > 30, "{report:?}");
}

#[tokio::test]
async fn each_leaf_may_run_twice() {
    let report = run_each_twice(|| case(is_moved)).await;
    assert!(report.cases.len() > 10, "{report:?}");
}

#[tokio::test]
async fn when_a_leaf_fails_everything_is_as_it_was() {
    let report = fail_each_child(|| case(is_undone)).await;
    assert!(report.cases.len() > 20, "{report:?}");
}

#[tokio::test]
async fn each_undo_may_run_twice() {
    let report = undo_each_twice(|| case(is_undone)).await;
    assert!(report.cases.len() > 20, "{report:?}");
}

fn is_moved(end: &End<MoveDisk>, files: &[String]) {
    assert!(end.output().is_ok(), "{end:?}");
    assert_eq!(files, ["to/disk.img"]);
}

fn is_undone(end: &End<MoveDisk>, files: &[String]) {
    if end.fault().is_none() {
        return is_moved(end, files);
    }
    assert!(end.output().is_err(), "{end:?}");
    assert_eq!(files, ["from/disk.img"]);
}

/// A move of an image of two groups, the second one short. The check is given the end and all files with images; each of
/// them must be the image.
fn case(check: fn(&End<MoveDisk>, &[String])) -> Case<MoveDisk> {
    let folder = Rc::new(tempfile::tempdir().unwrap());
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::create_dir(&from).unwrap();
    fs::create_dir(&to).unwrap();
    let image = (0..251).collect::<Vec<u8>>().repeat(EXTENT as usize / 251 + 1);
    fs::write(from.join("disk.img"), &image).unwrap();

    let request = MoveDisk::new(&from.join("disk.img"), &to).unwrap();
    Case::new(request).provide(Disk::open(None, None, None).unwrap()).check(move |end| {
        let files = files(&folder);
        check(end, &files);
        for file in files {
            assert!(fs::read(folder.path().join(&file)).unwrap() == image, "{file} has changed");
        }
    })
}

fn files(folder: &TempDir) -> Vec<String> {
    let names = |directory: &str| {
        let entries = fs::read_dir(folder.path().join(directory)).unwrap();
        let name = |entry: fs::DirEntry| entry.file_name().display().to_string();
        entries.map(|entry| format!("{directory}/{}", name(entry.unwrap()))).collect::<Vec<_>>()
    };
    [names("from"), names("to")].concat()
}
