//! Trying a record in a child process, so that one that kills its process kills only that.

use std::{fmt, process::Stdio};

use bytes::Bytes;
use tokio::{io::AsyncWriteExt, process::Command};

use super::ProbeCommand;

/// Why a record is not to be tried in this process.
#[derive(Debug)]
pub(super) enum Failed {
    /// The record did it: the child crashed, refused it or did not end in time.
    Item(String),
    /// The child could not be started; that says nothing about the record.
    Start(String),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Item(reason) | Self::Start(reason) => f.write_str(reason),
        }
    }
}

/// Gives `bytes` to the child on its standard input; exit code 0 means that it is fine.
pub(super) async fn probe(command: &ProbeCommand, bytes: &Bytes) -> Result<(), Failed> {
    let mut child = Command::new(&command.program)
        .args(&command.args)
        .arg(format!("--memory-limit={}", command.memory_limit))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| Failed::Start(format!("start {}: {e}", command.program.display())))?;
    let mut stdin = child.stdin.take();
    let ran = tokio::time::timeout(command.deadline, async {
        if let Some(mut stdin) = stdin.take() {
            // A child that ends without reading closes the pipe; its exit code tells.
            let _ = stdin.write_all(bytes).await;
            let _ = stdin.shutdown().await;
        }
        child.wait().await
    })
    .await;
    match ran {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(Failed::Item(format!("in a process of its own: {status}"))),
        Ok(Err(e)) => Err(Failed::Start(format!("wait for the child: {e}"))),
        Err(_) => {
            if let Err(e) = child.kill().await {
                tracing::warn!("killing a child that tries a record: {e}");
            }
            Err(Failed::Item(format!(
                "in a process of its own: not done within {:?}",
                command.deadline
            )))
        }
    }
}
