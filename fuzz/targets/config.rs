//! What an operator may have written: a configuration file, one of ZeroClaw, or a variable. Each is taken or refused with
//! sentences, and none of them shows a secret.

#![no_main]

use std::{collections::BTreeMap, ffi::OsString, fs, os::unix::ffi::OsStringExt as _, path::Path, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use moorgate::config::{Inputs, load, read_zeroclaw};
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().unwrap());

fuzz_target!(|bytes: &[u8]| {
    let file = FOLDER.path().join("config.toml");
    fs::write(&file, bytes).unwrap();
    let from_file = Inputs { config_flag: Some(file), cwd: FOLDER.path().to_owned(), ..Inputs::default() };
    check(&from_file);

    let mut variable = bytes.splitn(2, |byte| *byte == b'=').map(<[u8]>::to_vec);
    let name = [b"MOORGATE_".to_vec(), variable.next().unwrap_or_default()].concat();
    let value = variable.next().unwrap_or_default();
    if !name.contains(&0) && !value.contains(&0) {
        let env = BTreeMap::from([(OsString::from_vec(name), OsString::from_vec(value))]);
        check(&Inputs { env, cwd: FOLDER.path().to_owned(), ..Inputs::default() });
    }

    if let Ok(text) = std::str::from_utf8(bytes)
        && let Err(error) = read_zeroclaw(Path::new("zeroclaw.toml"), text)
    {
        assert!(!error.to_string().is_empty());
    }
});

fn check(inputs: &Inputs) {
    match load(inputs) {
        Ok(config) => assert!(!format!("{config:?}").is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
