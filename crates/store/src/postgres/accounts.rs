//! Rows of accounts.

use domain::key::Account;
use domain::time::Timestamp;

use super::connection::Link;
use super::fault::Fault;
use crate::rows::account;

/// All accounts, or those of these numbers.
pub(super) async fn load(link: &Link, numbers: Option<&[i32]>) -> Result<Vec<Account>, Fault> {
    let rows = link
        .rows(
            "SELECT number, id, name, created_at, updated_at, version, crc, profile FROM accounts
             WHERE $1::integer[] IS NULL OR number = ANY ($1) ORDER BY number",
            &[&numbers],
        )
        .await?;
    let mut accounts = Vec::with_capacity(rows.len());
    for row in rows {
        let (number, id, profile): (i32, String, String) = (row.get(0), row.get(1), row.get(7));
        let (log, limits) = account::read_profile(&id, &profile)?;
        let read = Account {
            number: number as u32,
            id: id.parse().map_err(|error| Fault::damaged(format_args!("account {number}"), error))?,
            name: row.get(2),
            created_at: Timestamp(row.get(3)),
            updated_at: Timestamp(row.get(4)),
            version: row.get::<_, i64>(5) as u64,
            log,
            limits,
        };
        account::sum(&read, &profile).verify(row.get(6), || format!("account {id}"))?;
        accounts.push(read);
    }
    Ok(accounts)
}

/// Writes a new account, which gets its number.
pub(super) async fn insert(link: &Link, account: &mut Account) -> Result<(), Fault> {
    // The checksum covers the number: so it is asked for first.
    let given = link.row("SELECT nextval(pg_get_serial_sequence('accounts', 'number'))", &[]).await?;
    account.number = given.map_or(0, |row| row.get::<_, i64>(0) as u32);
    put(link, account).await
}

/// Writes an account in place of the one of the same number.
pub(super) async fn put(link: &Link, account: &Account) -> Result<(), Fault> {
    let profile = account::write_profile(account)?;
    link.run(
        "INSERT INTO accounts (number, id, name, created_at, updated_at, version, profile, crc)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (number) DO UPDATE
         SET name = excluded.name, created_at = excluded.created_at, updated_at = excluded.updated_at,
             version = excluded.version, profile = excluded.profile, crc = excluded.crc",
        &[
            &(account.number as i32),
            &account.id.as_str(),
            &account.name,
            &account.created_at.0,
            &account.updated_at.0,
            &(account.version as i64),
            &profile,
            &account::sum(account, &profile).sum(),
        ],
    )
    .await?;
    Ok(())
}

/// Deletes an account's own row.
pub(super) async fn delete(link: &Link, number: u32) -> Result<(), Fault> {
    link.run("DELETE FROM accounts WHERE number = $1", &[&(number as i32)]).await?;
    Ok(())
}
