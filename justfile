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

# Measure with so much on record already: messages with their keys, and clients (it takes minutes at 10000000)
growth kept="1000,100000" clients="10000,1000000" *arguments:
    cargo build --release --workspace
    cargo run --release --package moorgate-bench -- growth --kept {{kept}} --clients {{clients}} {{arguments}}

# Micro-benchmarks of the pure rules and of the writer
micro *arguments:
    cargo bench --package moorgate-bench --bench micro -- {{arguments}}

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

# Random sequences against the model: 1000 steps in each
model sequences="100" seed="":
    MOORGATE_TEST_SEQUENCES={{sequences}} {{ if seed == "" { "" } else { "MOORGATE_TEST_SEED=" + seed } }} \
        cargo test --test gateway sequence::random -- --nocapture

# Histories of many clients at once, checked for linearizability
linear histories="500":
    MOORGATE_TEST_HISTORIES={{histories}} cargo test --test gateway linear -- --nocapture

# The writer and its callers in orders that are chosen at random, callers dropped at any await
interleave schedules="5000":
    MOORGATE_TEST_SCHEDULES={{schedules}} cargo test --lib interleaving -- --nocapture

# The store fails at each step of SQLite's machine, and the program at each call that changes the disk
fault-sweep calls="300":
    MOORGATE_TEST_STRIDE=1 cargo test --lib sqlite::tests::fault -- --nocapture
    MOORGATE_TEST_CALLS={{calls}} cargo test --test gateway disk::fault -- --nocapture

# Power cuts at random moments, with `full` and with `normal`
power-loss cuts="1000":
    MOORGATE_TEST_POWER_CUTS={{cuts}} cargo test --test gateway disk::power -- --nocapture

# `kill -9` at random moments under all kinds of load at once
crash-test kills="50":
    MOORGATE_TEST_KILLS={{kills}} cargo test --test gateway kills -- --nocapture
