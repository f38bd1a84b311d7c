//! How much a test does: little in CI, as much as one likes by hand.

/// The number in a variable, such as `MOORGATE_TEST_KILLS`; `default` where it is not set.
pub fn size(variable: &str, default: usize) -> usize {
    #[expect(clippy::disallowed_methods, reason = "a size is for the test, not for the gateway")]
    let given = std::env::var(variable);
    given.map_or(default, |number| number.parse().unwrap())
}
