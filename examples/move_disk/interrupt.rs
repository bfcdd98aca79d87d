//! Ctrl-C, by which a user cancels.

use std::future::pending;

use tokio::signal::ctrl_c;
use tokio::sync::watch;

/// Whether Ctrl-C was pressed.
pub struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// From now on Ctrl-C does not end the program any more.
    pub fn listen() -> Self {
        let (pressed, interrupt) = watch::channel(false);
        tokio::spawn(async move {
            if ctrl_c().await.is_ok() {
                pressed.send_replace(true);
            }
        });
        Self(interrupt)
    }

    /// True when it was pressed.
    pub fn has_come(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is pressed, or was.
    pub async fn comes(&self) {
        if self.0.clone().wait_for(|pressed| *pressed).await.is_err() {
            // Where nobody can press it, it does not come.
            pending::<()>().await;
        }
    }
}
