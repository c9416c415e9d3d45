//! What reading a frame of 350 bytes takes, and writing it again.

use std::hint::black_box;
use std::time::Instant;

use placet_mcp::emit;
use placet_mcp::frame::{Bounds, Frame};

use super::client::call;
use crate::figures;
use crate::stats::Samples;

/// Frames in a sample, and samples.
const FRAMES: u32 = 1000;
const SAMPLES: usize = 200;

pub(super) fn handling() {
    let frame = call(12);
    let samples = (0..SAMPLES)
        .map(|_| {
            let began = Instant::now();
            for _ in 0..FRAMES {
                let read = Frame::parse(black_box(frame.as_bytes()), Bounds::REQUEST);
                black_box(emit::frame(&read.expect("a frame")));
            }
            began.elapsed() / FRAMES
        })
        .collect();
    let name = format!("a frame of {} bytes, read and written", frame.len());
    let samples = Samples::new(samples);
    samples.print(&name);
    figures::note("mcp-frame", samples.percentile(50).as_secs_f64() * 1e6);
}
