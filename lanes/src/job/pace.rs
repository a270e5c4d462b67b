//! When to look for work again: at once while there is plenty, ever less often while there is none.

use std::time::Duration;

use tokio::time::Instant;

/// The next look.
pub(super) struct Pace {
    min: Duration,
    max: Duration,
    pause: Duration,
    wake: Instant,
    failing: bool,
}

impl Pace {
    /// The first look is now.
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, pause: min, wake: Instant::now(), failing: false }
    }

    /// When to look next.
    pub(super) fn wake(&self) -> Instant {
        self.wake
    }

    /// A look for `asked` jobs found `found`. True when it is the first after looks that failed.
    pub(super) fn found(&mut self, asked: usize, found: usize) -> bool {
        self.wake = Instant::now();
        if found < asked {
            self.wake += self.pause;
        }
        self.pause = if found == 0 { (self.pause * 2).min(self.max) } else { self.min };
        std::mem::take(&mut self.failing)
    }

    /// A look failed. True when it is the first.
    pub(super) fn failed(&mut self) -> bool {
        self.wake = Instant::now() + self.max;
        !std::mem::replace(&mut self.failing, true)
    }

    /// A job ended: another may have waited for it.
    pub(super) fn ended(&mut self) {
        self.pause = self.min;
        self.wake = self.wake.min(Instant::now() + self.min);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_slows_down_while_nothing_is_found() {
        let ms = Duration::from_millis;
        let mut pace = Pace::new(ms(5), ms(250));
        let mut waits = Vec::new();
        for _ in 0..8 {
            pace.found(4, 0);
            waits.push((pace.wake() - Instant::now()).as_millis());
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 250, 250]);
        pace.ended();
        assert_eq!(pace.wake() - Instant::now(), ms(5));
        pace.found(4, 4);
        assert_eq!(pace.wake(), Instant::now());
        assert!(pace.failed());
        assert!(!pace.failed());
        assert!(pace.found(4, 1));
        assert!(!pace.found(4, 1));
    }
}
