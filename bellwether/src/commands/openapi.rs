//! `bellwether openapi`: prints the API's OpenAPI 3.1 document.

/// Prints it.
pub fn run() {
    print!("{}", console::openapi());
}
