-- Who may call what; nobody else may call anything. A catalog test holds exactly this list.

REVOKE ALL ON ALL TABLES IN SCHEMA journal FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA journal FROM PUBLIC;

GRANT EXECUTE ON FUNCTION journal.now(), journal.clock_is_simulated(), journal.read_service(), journal.read_categories()
  TO journal_ingest, journal_read, journal_seal, journal_purge, journal_admin;

GRANT EXECUTE ON FUNCTION journal.read_tenants() TO journal_ingest, journal_read, journal_admin;

GRANT EXECUTE ON FUNCTION
    journal.append(
      text[], text[], bigint[], bytea[], bigint[], bytea[], timestamptz[],
      integer[], bigint[], bytea[], bytea[], bytea[], bytea[], date[],
      integer[], text[], bigint[], integer[], bytea[], bigint[], bigint[], bigint[]),
    journal.lock_heads(text[], text[]),
    journal.read_heads(text[], text[]),
    journal.directory_version()
  TO journal_ingest;

GRANT EXECUTE ON FUNCTION journal.read_credentials() TO journal_ingest, journal_admin;

GRANT EXECUTE ON FUNCTION
    journal.read_entries(text, text, date, bigint, integer),
    journal.read_seal(bigint),
    journal.read_seals(bigint, integer),
    journal.read_close_seals(date, date),
    journal.read_activity(text),
    journal.read_gaps(text)
  TO journal_read;

GRANT EXECUTE ON FUNCTION journal.latest_seal(), journal.latest_close_seal(), journal.read_seal_heads(bigint)
  TO journal_read, journal_seal;

GRANT EXECUTE ON FUNCTION
    journal.live_heads(),
    journal.close_day(date),
    journal.closed_heads(date),
    journal.put_seal(
      bigint, date, timestamptz, bytea, bytea, text[], text[], bigint[], bytea[], bigint[], smallint[]),
    journal.thin_seals(timestamptz),
    journal.prune_seal_heads()
  TO journal_seal;

GRANT EXECUTE ON FUNCTION
    journal.ensure_partitions(integer),
    journal.partitions(),
    journal.raise_fence(text, date),
    journal.drop_day(text, date),
    journal.move_kept_from(text, date)
  TO journal_purge;

GRANT EXECUTE ON FUNCTION
    journal.create_service(text),
    journal.add_tenant(text, text, text[], bytea[]),
    journal.add_category(text, text, text, smallint, boolean, text[], bytea[]),
    journal.close_tenant(text),
    journal.add_credential(text, bytea, text, text, text[], text, text, timestamptz),
    journal.revoke_credential(text)
  TO journal_admin;
