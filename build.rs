//! Unpacks `sqlx-data.json`, the one file that describes every query, into the folder of files that sqlx wants.

use std::{collections::BTreeMap, env, error::Error, fs, path::PathBuf};

#[expect(clippy::disallowed_methods, reason = "cargo talks to a build script through the environment")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=sqlx-data.json");
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-env-changed=SQLX_OFFLINE");
    if env::var("SQLX_OFFLINE").as_deref() == Ok("false") {
        return Ok(()); // the file is being made: the macros ask the database
    }
    let folder = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?).join("sqlx");
    let queries: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&fs::read("sqlx-data.json")?)?;
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    for (hash, query) in queries {
        fs::write(folder.join(format!("query-{hash}.json")), query.to_string())?;
    }
    println!("cargo:rustc-env=SQLX_OFFLINE_DIR={}", folder.display());
    println!("cargo:rustc-env=SQLX_OFFLINE=true");
    Ok(())
}
