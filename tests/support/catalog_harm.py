"""What a superuser does to the catalog, by the ids of KINDS.md: the statement, and words of the finding."""

from __future__ import annotations

from typing import Final

from journal.database.embedded import SUPERUSER

FEIGNED: Final = """
CREATE OR REPLACE FUNCTION journal.append(
    chain_tenant text[], chain_category text[], chain_size bigint[], chain_head bytea[],
    next_size bigint[], next_head bytea[], chain_recorded_at timestamptz[],
    entry_hashes bytea, entry_end integer[], entry_ciphertext bytea, early_entry integer[], early_since date[],
    activity_chain integer[], activity_action text[], activity_count bigint[],
    late_chain integer[], late_day date[], late_count bigint[],
    span_chain integer[], span_source bytea[], span_name bytea[], span_low bigint[], span_high bigint[],
    span_count bigint[])
  RETURNS TABLE (answer text, "position" integer, size bigint, chain_hash bytea, recorded_at timestamptz,
                 leaf_hash bytea, day date, ciphertext bytea)
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER
AS $$ BEGIN %s RETURN QUERY SELECT 'appended', NULL::integer, NULL::bigint, NULL::bytea, NULL::timestamptz,
                                   NULL::bytea, NULL::date, NULL::bytea; END $$
"""
_COPY: Final = (
    "CREATE FUNCTION public.copy() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
    "CREATE TRIGGER copied AFTER INSERT ON {} FOR EACH ROW EXECUTE FUNCTION public.copy()"
)


def catalog_harms(leaf: str) -> dict[str, tuple[str, str]]:
    """Return what is done and the words by which it is named; `leaf` is the table of a kept day of category 1."""
    name = leaf.partition(".")[2]
    definer = "LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp"
    return {
        "K01": (
            f"CREATE OR REPLACE FUNCTION journal.snapshot_version() RETURNS bigint {definer} AS 'SELECT 1::bigint'",
            "function journal.snapshot_version(): body differs",
        ),
        "K03": (
            (
                "CREATE OR REPLACE FUNCTION journal.stamping_failed_since() RETURNS timestamptz "
                f"{definer} AS 'SELECT NULL::timestamptz'"
            ),
            "function journal.stamping_failed_since(): body differs",
        ),
        "K04": ("ALTER FUNCTION journal.read_seal SECURITY INVOKER", "security_definer differs"),
        "K05": ("GRANT EXECUTE ON FUNCTION journal.read_entries TO PUBLIC", "access differs"),
        "K06": ("GRANT SELECT ON journal.credential TO journal_read", "table journal.credential: access differs"),
        "K06 of a partition": (f"GRANT SELECT ON {leaf} TO journal_read", f"table {leaf}: access differs"),
        "K07": (
            "REVOKE EXECUTE ON FUNCTION journal.read_entries FROM journal_read",
            (
                "function journal.read_entries(pg_catalog.text,pg_catalog.text,pg_catalog.date,bigint,integer): access "
                "differs"
            ),
        ),
        "K08": ("DROP TRIGGER seal_append_only ON journal.seal", "trigger seal_append_only on journal.seal: missing"),
        "K08 of a partition": (f"DROP TRIGGER entry_append_only ON {leaf}", f"table {leaf}: triggers differ"),
        "K09": (
            "ALTER TABLE journal.head DISABLE TRIGGER head_kept",
            "trigger head_kept on journal.head: enabled differs",
        ),
        "K09 of a partition": (f"ALTER TABLE {leaf} DISABLE TRIGGER entry_kept", f"table {leaf}: triggers differ"),
        "K10": ("ALTER TABLE journal.seal DROP CONSTRAINT seal_day_key", "seal_day_key on journal.seal: missing"),
        "K10 of a partition": (
            f"ALTER TABLE {leaf} DROP CONSTRAINT {name}_event_key_tenant_key",
            f"table {leaf}: unique indexes differ",
        ),
        "K11": (
            "ALTER TABLE journal.category DROP CONSTRAINT category_retention_days_check",
            "category_retention_days_check on journal.category: missing",
        ),
        "K12": ("ALTER TABLE journal.service ALTER COLUMN pruned_before SET DEFAULT 9", "default_value differs"),
        "K13": (f"ALTER FUNCTION journal.put_seal OWNER TO {SUPERUSER}", "owner differs"),
        "K13 of a partition": (f"ALTER TABLE {leaf} OWNER TO {SUPERUSER}", f"table {leaf}: owner differs"),
        "K14": (
            "CREATE RULE nothing AS ON INSERT TO journal.activity DO INSTEAD NOTHING",
            "rule nothing on journal.activity: not expected",
        ),
        "K14 a view": (
            (
                "ALTER TABLE journal.handover_fault RENAME TO other;"
                "CREATE VIEW journal.handover_fault AS SELECT * FROM journal.other"
            ),
            "view journal.handover_fault: not expected",
        ),
        "K16": (_COPY.format("journal.credential"), "trigger copied on journal.credential: not expected"),
        "K16 of a partition": (_COPY.format(leaf), f"table {leaf}: triggers differ"),
        "K17": (
            "ALTER TABLE journal.seal ENABLE ROW LEVEL SECURITY; CREATE POLICY hide ON journal.seal USING (number < 1)",
            "policy hide on journal.seal: not expected",
        ),
        "K17 of a partition": (
            f"ALTER TABLE {leaf} ENABLE ROW LEVEL SECURITY; CREATE POLICY hide ON {leaf} USING (false)",
            f"table {leaf}: row security",
        ),
        "K18": ("UPDATE journal.migration SET sha256 = sha256(sha256)", "table journal.migration: migration 1"),
    }


# What is done to a role of the server, how it is undone, and words of the finding.
ROLE_HARMS: Final = {
    "K15": ("ALTER ROLE journal_read SUPERUSER", "ALTER ROLE journal_read NOSUPERUSER", "may do more"),
    "K15 a member": ("GRANT pg_read_all_data TO journal_read", "REVOKE pg_read_all_data FROM journal_read", "may do"),
    "K15 bypass": ("ALTER ROLE journal_seal BYPASSRLS", "ALTER ROLE journal_seal NOBYPASSRLS", "may do more"),
}
