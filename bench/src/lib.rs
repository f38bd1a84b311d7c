//! The benchmark of Moorgate: the released gateway beside two baselines, loaded in turn on one machine in one run.

pub mod baseline;
pub mod burst;
pub mod crowd;
pub mod growth;
pub mod half;
pub mod load;
pub mod message;
pub mod model_server;
pub mod process;
pub mod scenario;
pub mod stats;
