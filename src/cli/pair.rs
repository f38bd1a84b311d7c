//! `moorgate pair`: issues a pairing code. The server may be running on the same file, and knows the code at once.

use clap::Args;

use super::{Failure, FileArgs, block_on, load, print};
use crate::app;

#[derive(Debug, Args)]
pub(super) struct PairArgs {
    /// A name for the client that will pair with the code
    #[arg(long, default_value = "client")]
    label: String,
    #[command(flatten)]
    files: FileArgs,
}

pub(super) fn run(arguments: PairArgs) -> Result<(), Failure> {
    let config = load(arguments.files, Vec::new())?;
    block_on(async {
        let (store, pairing, clock) = app::open_beside(&config).await?;
        let issued = pairing.issue_code(&arguments.label, clock.now()).await;
        store.close().await;
        let code = issued.map_err(app::StartError::from)?;
        print(format_args!(
            "X-Pairing-Code: {}\nGood for one client, for {} minutes.\n",
            code.expose(),
            config.gateway.pairing_code_ttl.as_secs().div_ceil(60)
        ));
        Ok(())
    })
}
