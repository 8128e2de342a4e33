-- Statements about the schema itself, as the catalog has it: for comparing two databases. In one snapshot, by
-- anyone.
--
-- Each names objects (`object`), and in its other columns what can differ of them. Left out are the partitions
-- of `journal.entry`, which are made at run time, and a column's place in its table, which says only when it
-- was added.

-- name: fix_search_path
-- Names are then written in full, whatever this session's path is.
SET LOCAL search_path TO pg_catalog, pg_temp

-- name: access
-- Who owns what, and who may do what with it. A missing list is the one the server takes instead; the owner's
-- own rights are written `owner`. The database is here without its name.
WITH partition AS (SELECT t.relid FROM pg_partition_tree(to_regclass('journal.entry')) AS t WHERE t.level > 0),
  held (class, id, part, owner, list) AS (
    SELECT 'pg_database'::regclass, d.oid, 0, d.datdba, coalesce(d.datacl, acldefault('d', d.datdba))
      FROM pg_database AS d WHERE d.datname = current_database()
    UNION ALL
    SELECT 'pg_namespace'::regclass, n.oid, 0, n.nspowner, coalesce(n.nspacl, acldefault('n', n.nspowner))
      FROM pg_namespace AS n WHERE n.nspname = 'journal'
    UNION ALL
    SELECT 'pg_default_acl'::regclass, d.oid, 0, d.defaclrole, d.defaclacl FROM pg_default_acl AS d
    UNION ALL
    SELECT 'pg_class'::regclass, c.oid, 0, c.relowner,
           coalesce(c.relacl, acldefault((CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END)::"char", c.relowner))
      FROM pg_class AS c
     WHERE c.relnamespace = to_regnamespace('journal') AND c.relkind NOT IN ('i', 'I')
       AND c.oid NOT IN (SELECT relid FROM partition)
    UNION ALL
    SELECT 'pg_class'::regclass, c.oid, a.attnum, c.relowner, a.attacl
      FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attacl IS NOT NULL
     WHERE c.relnamespace = to_regnamespace('journal') AND c.oid NOT IN (SELECT relid FROM partition)
    UNION ALL
    SELECT 'pg_proc'::regclass, p.oid, 0, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner))
      FROM pg_proc AS p WHERE p.pronamespace = to_regnamespace('journal')
    UNION ALL
    SELECT 'pg_type'::regclass, t.oid, 0, t.typowner, coalesce(t.typacl, acldefault('T', t.typowner))
      FROM pg_type AS t
     WHERE t.typnamespace = to_regnamespace('journal') AND t.typcategory <> 'A'
       AND (t.typrelid = 0 OR t.typacl IS NOT NULL AND t.typrelid NOT IN (SELECT relid FROM partition)))
SELECT CASE h.class WHEN 'pg_database'::regclass THEN 'database'
                    ELSE concat(i.type, ' ', i.identity) END AS object,
       CASE h.part WHEN 0 THEN h.owner::regrole::text END AS owner,
       ARRAY(SELECT concat(CASE a.grantee WHEN h.owner THEN 'owner' WHEN 0 THEN 'PUBLIC'
                                          ELSE a.grantee::regrole::text END,
                           ' ', a.privilege_type, CASE WHEN a.is_grantable THEN ' with grant option' END)
               FROM aclexplode(h.list) AS a
              -- PostgreSQL 17 has it, and owners hold it.
              WHERE (a.grantee, a.privilege_type) IS DISTINCT FROM (h.owner, 'MAINTAIN') ORDER BY 1) AS access
  FROM held AS h CROSS JOIN LATERAL pg_identify_object(h.class, h.id, h.part) AS i

-- name: relations
-- Tables, views, sequences: what they are, and how they are kept.
SELECT concat(i.type, ' ', i.identity) AS object, c.relpersistence AS persistence, m.amname AS method,
       c.reloptions AS options, c.relreplident AS replica_identity, c.relrowsecurity AS row_security,
       c.relforcerowsecurity AS row_security_forced, pg_get_partkeydef(c.oid) AS partition_key,
       ARRAY(SELECT h.inhparent::regclass::text
               FROM pg_inherits AS h WHERE h.inhrelid = c.oid ORDER BY 1) AS parents,
       CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END AS query,
       concat_ws(' ', s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache,
                 s.seqcycle) AS numbers
  FROM pg_class AS c
 CROSS JOIN LATERAL pg_identify_object('pg_class'::regclass, c.oid, 0) AS i
  LEFT JOIN pg_am AS m ON m.oid = c.relam
  LEFT JOIN pg_sequence AS s ON s.seqrelid = c.oid
 WHERE c.relnamespace = to_regnamespace('journal') AND c.relkind NOT IN ('i', 'I')
   AND c.oid NOT IN (SELECT t.relid FROM pg_partition_tree(to_regclass('journal.entry')) AS t WHERE t.level > 0)

-- name: columns
-- Of tables and views.
SELECT concat(i.type, ' ', i.identity) AS object, format_type(a.atttypid, a.atttypmod) AS type,
       a.attnotnull AS not_null, pg_get_expr(d.adbin, d.adrelid) AS default_value, a.attidentity AS identity,
       a.attgenerated AS generated, a.attstorage AS storage, a.attcompression AS compression,
       a.attcollation::regcollation::text AS collation, a.attoptions AS options
  FROM pg_class AS c
  JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 CROSS JOIN LATERAL pg_identify_object('pg_class'::regclass, c.oid, a.attnum) AS i
  LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
 WHERE c.relnamespace = to_regnamespace('journal') AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
   AND c.oid NOT IN (SELECT t.relid FROM pg_partition_tree(to_regclass('journal.entry')) AS t WHERE t.level > 0)

-- name: constraints
-- Of tables and domains, with the index that serves one, and whether the triggers that enforce one are enabled.
SELECT concat(i.type, ' ', i.identity) AS object, pg_get_constraintdef(c.oid) AS definition,
       c.convalidated AS validated, pg_get_indexdef(nullif(c.conindid, 0)) AS index,
       x.indisvalid AS index_valid,
       ARRAY(SELECT concat(t.tgfoid::regproc, ' ', t.tgenabled)
               FROM pg_trigger AS t WHERE t.tgconstraint = c.oid ORDER BY 1) AS triggers
  FROM pg_constraint AS c
 CROSS JOIN LATERAL pg_identify_object('pg_constraint'::regclass, c.oid, 0) AS i
  LEFT JOIN pg_index AS x ON x.indexrelid = c.conindid
 WHERE c.connamespace = to_regnamespace('journal')
   AND c.contype <> 'n' -- from PostgreSQL 18 on; columns have it
   AND c.conrelid NOT IN (
   SELECT t.relid FROM pg_partition_tree(to_regclass('journal.entry')) AS t WHERE t.level > 0)

-- name: indexes
-- Those that serve no constraint.
SELECT concat(i.type, ' ', i.identity) AS object, pg_get_indexdef(x.indexrelid) AS definition,
       x.indisvalid AS valid
  FROM pg_class AS c
  JOIN pg_index AS x ON x.indexrelid = c.oid
 CROSS JOIN LATERAL pg_identify_object('pg_class'::regclass, c.oid, 0) AS i
 WHERE c.relnamespace = to_regnamespace('journal')
   AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = c.oid AND k.conrelid = x.indrelid)
   AND x.indrelid NOT IN (
     SELECT t.relid FROM pg_partition_tree(to_regclass('journal.entry')) AS t WHERE t.level > 0)

-- name: triggers
-- But for those that the server makes to enforce a constraint.
SELECT concat(i.type, ' ', i.identity) AS object, pg_get_triggerdef(g.oid) AS definition, g.tgenabled AS enabled
  FROM pg_trigger AS g
  JOIN pg_class AS c ON c.oid = g.tgrelid
 CROSS JOIN LATERAL pg_identify_object('pg_trigger'::regclass, g.oid, 0) AS i
 WHERE c.relnamespace = to_regnamespace('journal') AND NOT g.tgisinternal AND c.oid NOT IN (
   SELECT t.relid FROM pg_partition_tree(to_regclass('journal.entry')) AS t WHERE t.level > 0)

-- name: functions
-- With their bodies, as they were written.
SELECT concat(i.type, ' ', i.identity) AS object, pg_get_function_arguments(p.oid) AS arguments,
       pg_get_function_result(p.oid) AS result, coalesce(pg_get_function_sqlbody(p.oid), p.prosrc) AS body,
       l.lanname AS language, p.provolatile AS volatility, p.prosecdef AS security_definer, p.proconfig AS config,
       p.proisstrict AS strict, p.proleakproof AS leakproof, p.proparallel AS parallel, p.procost AS cost,
       p.prorows AS rows
  FROM pg_proc AS p
  JOIN pg_language AS l ON l.oid = p.prolang
 CROSS JOIN LATERAL pg_identify_object('pg_proc'::regclass, p.oid, 0) AS i
 WHERE p.pronamespace = to_regnamespace('journal')

-- name: types
-- Those that are no table's.
SELECT concat(i.type, ' ', i.identity) AS object, format_type(nullif(t.typbasetype, 0), t.typtypmod) AS base,
       t.typnotnull AS not_null, t.typdefault AS default_value, t.typcollation::regcollation::text AS collation,
       ARRAY(SELECT e.enumlabel FROM pg_enum AS e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder) AS labels
  FROM pg_type AS t
 CROSS JOIN LATERAL pg_identify_object('pg_type'::regclass, t.oid, 0) AS i
 WHERE t.typnamespace = to_regnamespace('journal') AND t.typcategory <> 'A' AND t.typrelid = 0

-- name: comments
-- Of anything in the schema.
SELECT concat(i.type, ' ', i.identity) AS object, d.description AS comment
  FROM pg_description AS d
 CROSS JOIN LATERAL pg_identify_object(d.classoid, d.objoid, d.objsubid) AS i
 WHERE d.objoid >= 16384 -- the server's own objects are below
   AND (i.schema = 'journal' OR i.identity = 'journal' OR i.identity LIKE '% on journal.%')

-- name: others
-- What the schema has none of: rules, policies, statistics, operators and such. That one is there says
-- enough.
SELECT DISTINCT concat(i.type, ' ', i.identity) AS object, true AS present
  FROM pg_depend AS d
 CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, 0) AS i
 WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = to_regnamespace('journal')
   AND d.classid NOT IN ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_type'::regclass,
                         'pg_constraint'::regclass)
    OR d.refclassid = 'pg_class'::regclass AND d.classid IN ('pg_rewrite'::regclass, 'pg_policy'::regclass)
   AND d.refobjid IN (SELECT c.oid FROM pg_class AS c WHERE c.relnamespace = to_regnamespace('journal'))
