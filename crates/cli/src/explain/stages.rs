//! Reading, running and writing at the same time.

use std::sync::mpsc::sync_channel;
use std::thread;

/// Passes batches through three stages, which work at the same time, each on one batch after the other: `read` and `write`
/// on threads of their own, `run` on the caller's. A stage hands a batch over when the next is free for it, so that no more
/// than three batches exist at once, however many come, and they stay in order.
pub fn stages<A: Send, B: Send>(
    read: impl Iterator<Item = A> + Send,
    mut run: impl FnMut(A) -> B,
    write: impl FnMut(B) + Send,
) {
    let ((hand, take), (pass, end)) = (sync_channel(0), sync_channel(0));
    thread::scope(|scope| {
        // Where the next stage is gone, it has panicked, which the scope passes on.
        scope.spawn(move || read.map(|batch| hand.send(batch)).take_while(Result::is_ok).for_each(drop));
        scope.spawn(move || end.into_iter().for_each(write));
        take.into_iter().map(|batch| pass.send(run(batch))).take_while(Result::is_ok).for_each(drop);
        drop(pass);
    });
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Barrier};
    use std::time::Duration;

    use super::*;

    /// One batch in each stage.
    const ALIVE: usize = 3;

    /// Counts how many of its kind there are.
    struct Counted(usize, Arc<AtomicUsize>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.1.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Passes so many batches through stages, one of which is slow; the order of what comes out, and the most batches that
    /// existed at once.
    fn passed(count: usize, slow: usize) -> (Vec<usize>, usize) {
        let (alive, most) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
        let wait = |stage| {
            if stage == slow {
                thread::sleep(Duration::from_millis(1))
            }
        };
        let batch = |index| {
            most.fetch_max(alive.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            wait(0);
            Counted(index, Arc::clone(&alive))
        };
        let mut out = Vec::new();
        let run = |batch| {
            wait(1);
            batch
        };
        stages((0..count).map(batch), run, |batch: Counted| {
            wait(2);
            out.push(batch.0);
        });
        (out, most.into_inner())
    }

    #[test]
    fn batches_stay_in_order_and_no_more_than_three_exist() {
        for slow in 0..=3 {
            for count in [0, 1, 2, 40] {
                let (out, most) = passed(count, slow);
                assert_eq!(out, (0..count).collect::<Vec<_>>());
                assert!(most <= ALIVE, "{most} batches at once, stage {slow} is slow");
            }
        }
    }

    #[test]
    fn stages_work_at_the_same_time() {
        // Three batches meet, one in each stage; stages that took turns would wait for each other for ever.
        let all = Barrier::new(3);
        let mut read = 0..3;
        let read = std::iter::from_fn(|| {
            let batch = read.next()?;
            if batch == 2 {
                all.wait();
            }
            Some(batch)
        });
        let run = |batch| {
            if batch == 1 {
                all.wait();
            }
            batch
        };
        stages(read, run, |batch| {
            if batch == 0 {
                all.wait();
            }
        });
    }

    #[test]
    #[should_panic]
    fn a_panic_ends_all_stages() {
        stages(0.., |batch| assert!(batch < 3), |()| ());
    }
}
