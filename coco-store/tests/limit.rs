//! A log that may not grow, as under a quota: `write` itself fails, in the middle of a `COMMIT`.
#![cfg(unix)]

mod support;

use std::process::Command;
use std::sync::Arc;

use coco_core::store::{CommitError, Outcome, Step, Store, Write};

use self::support::{Place, apply, id, insert, progress, run, step};

/// Says to this test that its files are limited.
const LIMITED: &str = "COCO_LIMITED";

/// Runs this test again, in a process that cannot write more than this into a file.
const AGAIN: &str = "trap '' XFSZ; ulimit -f 1000; exec \"$0\" \"$@\"";

#[tokio::test]
async fn a_commit_that_cannot_be_written_whole_is_made_when_it_can() {
    if std::env::var_os(LIMITED).is_some() {
        return limited().await;
    }
    let test = std::env::current_exe().unwrap();
    let name = "a_commit_that_cannot_be_written_whole_is_made_when_it_can";
    let mut again = Command::new("sh");
    again.args(["-c", AGAIN]).arg(test).args(["--exact", name, "--nocapture"]);
    let output = again.env(LIMITED, "yes").output().expect("a shell");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
}

async fn limited() {
    let place = Place::new();
    let store = place.open().await;
    let lease = store.acquire().await.unwrap();
    apply(&store, &lease, vec![insert(1)]).await;
    for written in 0_u32.. {
        assert!(written < 1000, "the log has no limit");
        let state: Arc<str> = format!("\"{written}{:10000}\"", "").into();
        let mut progress = progress(coco_core::CommandStatus::Active);
        progress.state = Some(Arc::clone(&state));
        let steps: Arc<[Step]> = [step(1, Write::Update(id(1), Box::new(progress)))].into();
        let stored = || async { store.entity(id(1)).await.unwrap().unwrap().progress.state };
        let before = stored().await;
        match store.commit(&lease, Arc::clone(&steps)).await {
            Ok(_) => assert_eq!(stored().await, Some(state)),
            Err(CommitError::Unavailable(reason)) => {
                assert!(written > 0, "nothing was written before");
                assert!(reason.starts_with("COMMIT failed: "), "{reason}");
                assert!(reason.contains("disk I/O error"), "{reason}");
                assert_eq!(stored().await, before);
                // The log begins anew.
                run(&mut place.stranger().await, "PRAGMA wal_checkpoint(TRUNCATE)").await;
                assert_eq!(store.commit(&lease, steps).await.unwrap().outcomes, [Outcome::Applied]);
                assert_eq!(stored().await, Some(state));
                return;
            }
            other => panic!("expected that the store cannot be written, got {other:?}"),
        }
    }
}
