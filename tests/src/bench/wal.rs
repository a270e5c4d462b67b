//! What the tables' write-ahead log is made of.

use std::collections::BTreeMap;

use sqlx::{Connection, PgConnection};

/// At most this much of it is taken apart: enough for many batches of every lane.
const SLICE: i64 = 48 << 20;

/// Where the write-ahead log ends, in bytes.
pub async fn position(sql: &mut PgConnection) -> i64 {
    sqlx::query_scalar("select (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint")
        .fetch_one(sql)
        .await
        .unwrap()
}

/// Share of the bytes between two positions that each table caused, its indexes and long values
/// included, largest first; partitions count as their parents. None where the server has no
/// `pg_walinspect`.
pub async fn shares(url: &str, from: i64, to: i64) -> Option<Vec<(String, f64)>> {
    let mut sql = PgConnection::connect(url).await.unwrap();
    sqlx::query("create extension if not exists pg_walinspect").execute(&mut sql).await.ok()?;
    let from = from.max(to - SLICE);
    // "blkref #0: rel 1663/16384/16400 fork main blk 7": the third number is the file of the
    // relation the record changed first.
    let rows: Vec<(Option<String>, i64)> = sqlx::query_as(
        "with files as ( \
             select pg_relation_filenode(c.oid) as file, \
                    coalesce(t.relname, o.relname, c.relname) as relname \
             from pg_class c \
             left join pg_index i on i.indexrelid = c.oid \
             left join pg_class o on o.oid = i.indrelid \
             left join pg_class t on t.reltoastrelid = coalesce(i.indrelid, c.oid) \
             where c.relkind in ('r', 'i', 't') \
         ), records as ( \
             select substring(block_ref from 'rel [0-9]+/[0-9]+/([0-9]+)')::oid as file, \
                    record_length::bigint as length \
             from pg_get_wal_records_info('0/0'::pg_lsn + $1::numeric, '0/0'::pg_lsn + $2::numeric) \
         ) \
         select f.relname::text, sum(r.length)::bigint from records r \
         left join files f on f.file = r.file group by 1",
    )
    .bind(from)
    .bind(to)
    .fetch_all(&mut sql)
    .await
    .inspect_err(|e| eprintln!("bench: the write-ahead log cannot be read: {e}"))
    .ok()?;
    let mut tables = BTreeMap::<String, i64>::new();
    for (relation, bytes) in rows {
        let table = relation.map_or_else(|| "other".to_owned(), |r| parent(&r).to_owned());
        *tables.entry(table).or_default() += bytes;
    }
    let all = tables.values().sum::<i64>().max(1) as f64;
    let mut shares: Vec<_> = tables.into_iter().map(|(t, b)| (t, b as f64 / all)).collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    Some(shares)
}

/// `dossier_g1_d20412` is a part of `dossier`.
fn parent(relation: &str) -> &str {
    relation.find("_g1").map_or(relation, |at| &relation[..at])
}
