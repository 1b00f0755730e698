//! Embedded migrations are part of the program: it is built anew when one changes.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
