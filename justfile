# `just` without a recipe lists them.
default:
    @just --list

# Run the gateway
run *arguments:
    cargo run --release -- {{arguments}}

# Everything that CI runs
ci:
    .ci/run

# The tests alone
test *filter:
    cargo test {{filter}}

# Rewrite sqlx-data.json after a change to a query or to migrations/
sqlx-data:
    scripts/sqlx-data.py

# Rewrite docs/DATABASE.md after a change to migrations/ or docs/database/
database-doc:
    scripts/database-doc.py

# Measure: the tables of docs/PERFORMANCE.md
bench *arguments:
    cargo build --release --workspace
    cargo run --release --package moorgate-bench -- {{arguments}}

# One message through the gateway to a real tiny model
smoke-model:
    cargo build --release
    scripts/smoke-model.sh

# Throw odd bytes at what strangers send and operators write, a minute for each target; needs nightly Rust and cargo-fuzz
fuzz seconds="60":
    for target in request payload signature forwarded config; do \
        mkdir -p fuzz/corpus/$target; \
        cargo +nightly fuzz run -s none $target fuzz/corpus/$target fuzz/seeds/$target -- -max_total_time={{seconds}} -max_len=8192 || exit 1; \
    done
