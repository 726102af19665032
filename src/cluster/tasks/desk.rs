//! Receipts that came, and who waits for them.

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use crate::cluster::model::{Receipt, TaskId};

use super::book::{ReceiptBook, Receipts};

/// Receipts that came, and who waits for them.
pub struct ReceiptDesk {
    book: Mutex<ReceiptBook>,
    news: watch::Sender<u64>,
}

impl Default for ReceiptDesk {
    fn default() -> Self {
        ReceiptDesk { book: Mutex::default(), news: watch::Sender::new(0) }
    }
}

impl ReceiptDesk {
    /// Notes a verified receipt.
    pub fn note(&self, receipt: Receipt) {
        let news = self.book.lock().unwrap_or_else(PoisonError::into_inner).note(receipt);
        if news {
            self.news.send_modify(|n| *n += 1);
        }
    }

    /// What came for a task so far.
    pub fn get(&self, task: &TaskId) -> Receipts {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).get(task)
    }

    /// Waits until `pick` finds what it wants among a task's receipts.
    pub async fn wait<T>(&self, task: &TaskId, pick: impl Fn(Receipts) -> Option<T>) -> T {
        let mut news = self.news.subscribe();
        loop {
            news.mark_unchanged();
            if let Some(found) = pick(self.get(task)) {
                return found;
            }
            // The sender lives as long as this desk.
            if news.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
