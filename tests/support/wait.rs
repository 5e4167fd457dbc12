//! Waits for a condition that has no notification: it is checked repeatedly until a deadline.

use std::time::Duration;

use tokio::time::Instant;

/// The deadline is long enough for a busy machine. A test that passes never waits this long.
pub const DEADLINE: Duration = Duration::from_secs(30);

const INTERVAL: Duration = Duration::from_millis(10);

/// Waits until the condition holds. `what` completes the sentence "waited for …".
pub async fn wait_until(what: &str, within: Duration, mut condition: impl AsyncFnMut() -> bool) {
    eventually(what, within, async || condition().await.then_some(())).await;
}

/// Waits until there is a value, and returns it.
pub async fn eventually<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = look().await {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {within:?} for {what}, in vain");
        tokio::time::sleep(INTERVAL).await;
    }
}
