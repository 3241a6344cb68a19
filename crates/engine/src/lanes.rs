//! Small runs beside each other, where threads would lose time to each other within one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::{panic, thread};

use whycam_graph::{Engine, Graph, Program, Result};

use crate::loaded;

/// The most runs at a time. With two, one computes while the other does what threads cannot share; each more may have weights
/// of its own once more.
const MOST: usize = 2;

/// Programs of one graph, which run at the same time on a share of the engine's threads each.
pub struct Lanes(Vec<Box<dyn Program>>);

impl Lanes {
    /// Lowers a graph for the engine, writes it, and loads it.
    ///
    /// # Errors
    /// As [`load`](crate::load).
    pub fn load(engine: &dyn Engine, graph: &Graph) -> Result<Lanes> {
        loaded(engine, graph, false, |model| engine.load_lanes(model)).map(Lanes)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Does every job in the next lane that is free, and returns what came of them in their order.
    ///
    /// # Errors
    /// One that a job ended with; no job is begun behind it.
    pub fn each<J: Sync, T: Send, E: Send>(
        &self,
        jobs: &[J],
        work: impl Fn(&dyn Program, &J) -> std::result::Result<T, E> + Sync,
    ) -> std::result::Result<Vec<T>, E> {
        let next = AtomicUsize::new(0);
        let lane = |program: &dyn Program| {
            let mut done = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(job) = jobs.get(at) else { return Ok(done) };
                match work(program, job) {
                    Ok(made) => done.push((at, made)),
                    Err(error) => {
                        next.store(jobs.len(), Ordering::Relaxed);
                        return Err(error);
                    }
                }
            }
        };
        let lane = &lane;
        let ended: Vec<_> = thread::scope(|scope| {
            let lanes: Vec<_> = self.0.iter().map(|program| scope.spawn(move || lane(&**program))).collect();
            lanes.into_iter().map(thread::ScopedJoinHandle::join).collect()
        });
        let mut made = Vec::with_capacity(jobs.len());
        for lane in ended {
            made.extend(lane.unwrap_or_else(|panic| panic::resume_unwind(panic))?);
        }
        made.sort_by_key(|&(at, _)| at);
        Ok(made.into_iter().map(|(_, made)| made).collect())
    }
}

/// How many of so many threads each lane has.
pub(crate) fn shares(threads: usize) -> impl Iterator<Item = usize> {
    let lanes = threads.clamp(1, MOST);
    (0..lanes).map(move |lane| (threads + lane) / lanes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_shared_out() {
        for (threads, wanted) in [(1, &[1][..]), (2, &[1, 1]), (7, &[3, 4]), (64, &[32, 32])] {
            assert_eq!(shares(threads).collect::<Vec<_>>(), wanted);
        }
    }
}
