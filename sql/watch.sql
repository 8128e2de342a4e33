-- Statements of the audit inside the service, on the owner's connection: tables and catalog themselves.

-- name: read_user
-- Who owns what the migrations made.
SELECT current_user

-- name: role_faults
-- The roles that may do more than call functions, or not even that, and an owner that may do anything.
SELECT format('role %s: %s', wanted.name, CASE WHEN r.rolname IS NULL THEN 'missing'
                                                WHEN NOT r.rolcanlogin THEN 'may not log in'
                                                ELSE 'may do more than call functions' END) AS fault
  FROM unnest(ARRAY['journal_ingest', 'journal_read', 'journal_seal', 'journal_purge', 'journal_admin'])
         AS wanted (name)
  LEFT JOIN pg_catalog.pg_roles AS r ON r.rolname = wanted.name
 WHERE r.rolname IS NULL OR NOT r.rolcanlogin OR r.rolsuper OR r.rolcreatedb OR r.rolcreaterole OR r.rolreplication
    OR r.rolbypassrls OR EXISTS (SELECT FROM pg_catalog.pg_auth_members AS m WHERE m.member = r.oid)
UNION ALL
SELECT format('role %s: the owner is a superuser, so every function runs with its rights', r.rolname)
  FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user AND r.rolsuper

-- name: purge_faults
-- The categories whose purge is said to be done past where it was begun.
SELECT format('category %s: its purge is said to be done up to %s, and was begun up to %s', c.code, c.purged_day,
              coalesce(c.fence::text, 'no day')) AS fault
  FROM journal.category AS c WHERE c.purged_day > coalesce(c.fence, '-infinity')

-- name: partition_faults
-- The partitions of entries whose owner, rights, triggers, indexes, checks or rules are not what
-- `ensure_partitions` gave them.
WITH leaf AS (
  SELECT t.relid, t.level, c.relname, c.relkind, c.relowner, c.relacl, c.relrowsecurity, c.relpersistence
    FROM pg_catalog.pg_partition_tree(to_regclass('journal.entry')) AS t
    JOIN pg_catalog.pg_class AS c ON c.oid = t.relid
   WHERE t.level > 0
)
SELECT format('table journal.%s: %s', l.relname, f.fault) AS fault
  FROM leaf AS l
 CROSS JOIN LATERAL (
   SELECT 'owner differs' WHERE l.relowner <> (SELECT oid FROM pg_roles WHERE rolname = current_user)
   UNION ALL
   SELECT 'access differs' WHERE EXISTS (SELECT FROM aclexplode(l.relacl) AS a WHERE a.grantee <> l.relowner)
   UNION ALL
   SELECT 'access of a column differs'
    WHERE EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = l.relid AND a.attacl IS NOT NULL)
   UNION ALL
   SELECT 'row security is on, or it has policies'
    WHERE l.relrowsecurity OR EXISTS (SELECT FROM pg_policy AS p WHERE p.polrelid = l.relid)
   UNION ALL
   SELECT 'it has rules' WHERE EXISTS (SELECT FROM pg_rewrite AS r WHERE r.ev_class = l.relid)
   UNION ALL
   SELECT 'it is not durable' WHERE l.relpersistence <> 'p'
   UNION ALL
   SELECT 'triggers differ'
    WHERE ARRAY(SELECT concat(g.tgname, ' ', g.tgfoid::regproc, ' ', g.tgenabled, ' ', g.tgtype)
                  FROM pg_trigger AS g
                 WHERE g.tgrelid = l.relid AND (NOT g.tgisinternal OR g.tgname = 'entry_kept') ORDER BY 1)
          <> ARRAY['entry_append_only journal.refuse_change O 58', 'entry_kept journal.refuse_entry_removal O 11']
   UNION ALL
   SELECT 'unique indexes differ'
    WHERE ARRAY(SELECT format('%s %s %s %s', x.indisprimary, x.indisunique, x.indisvalid AND x.indisready,
                              ARRAY(SELECT a.attname FROM unnest(x.indkey) WITH ORDINALITY AS k (number, place)
                                      JOIN pg_attribute AS a ON a.attrelid = x.indrelid AND a.attnum = k.number
                                     ORDER BY k.place)::text)
                  FROM pg_index AS x WHERE x.indrelid = l.relid ORDER BY 1)
          <> CASE l.level WHEN 1 THEN '{}'::text[]
                          ELSE ARRAY['f t t {event_key,tenant}', 't t t {tenant,index}'] END
   UNION ALL
   SELECT 'checks differ'
    WHERE ARRAY(SELECT pg_get_constraintdef(k.oid) FROM pg_constraint AS k
                 WHERE k.conrelid = l.relid AND k.contype = 'c' AND k.convalidated ORDER BY 1)
          <> ARRAY(SELECT pg_get_constraintdef(k.oid) FROM pg_constraint AS k
                    WHERE k.conrelid = to_regclass('journal.entry') AND k.contype = 'c' ORDER BY 1)
 ) AS f (fault)
 ORDER BY 1
