//! The page about the tables knows every table.

use std::path::Path;

#[test]
fn every_table_is_named_on_the_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = std::fs::read_to_string(root.join("docs/tables.md")).unwrap();
    let mut tables = Vec::new();
    for migration in store::MIGRATIONS.iter() {
        let lines = migration.sql.as_str().lines();
        tables.extend(lines.filter_map(|line| {
            let rest = line.strip_prefix("create table ")?;
            Some(rest.split([' ', '(']).next().unwrap_or_default().to_owned())
        }));
    }
    assert!(tables.len() >= 25, "{tables:?}");
    let row = |table: &str| format!("| `{table}` | ");
    let absent: Vec<_> = tables.iter().filter(|table| !page.contains(&row(table))).collect();
    assert!(absent.is_empty(), "docs/tables.md has no row of {absent:?}");
    let named = page.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(named, tables.len(), "docs/tables.md has rows of tables there are none of");
}
