/*
 * Change: an administrative fact gets its next version in the database and in the ledger of the key store.
 *
 * Processes
 *   changer   two who change the fact, or settle as a start does (`journal.database.change`: `_change_all`,
 *             `settle_facts`, `_settle_earlier`, with `set` and `settle` of `journal.keys.ledger`)
 *   reader    a process that obeys the fact (`journal.database.facts.Facts`: mark, read the row, judge it)
 *   standby   the write-ahead log that reaches the standby
 *   faults    a changer is killed; the session of a commit that waits for the standby is ended; the primary crashes and
 *             starts again; the standby takes over; the key store's host loses its power; CRASHES in all
 *   attacker  ATTACKS times, writes any version, or one that nobody asked for, into the row, behind everybody's back
 *
 * A fact's versions are numbers; the row holds one. A commit is visible to others once disk and standby have it, when
 * its session is ended while it waits, or when the primary comes up again with it on its disk. The ledger's lines are
 * numbered; each version has the line that set it and the line that settled it.
 *
 * Properties
 *   ghost      a reader never obeys a version that nobody asked for, or that was undone before it looked
 *   lost       a reader never obeys a version older than one that was acknowledged before it looked; without attacks,
 *              no crash and no failover takes such a version out of the row
 *   suspended  without attacks, the row is always vouched for: a crash locks nobody out, and stops no change
 *
 * Left out: further copies of the ledger (a change waits for all, the longest counts, a shorter is brought up to it
 * before the next one: the tests of `Ledger` tear and cut the files); the mac of each line; several facts in one change,
 * which are set by one write and committed by one transaction; the restore of a backup, after which facts are suspended
 * until an operator confirms them, by intention.
 */
#ifndef CHANGES
#define CHANGES 3
#endif
#ifndef CRASHES
#define CRASHES 2
#endif
#ifndef ATTACKS
#define ATTACKS 0
#endif
#define FORGED (CHANGES + 1)
#define NOBODY 2
#define PENDING 0
#define DONE 1
#define UNDONE 2

/* The database: the row as it is seen, on the primary's disk, on the standby; who holds the lock of changes. */
byte row, on_disk, on_standby, epoch, lock = NOBODY;
/* Who holds the ledger's files: from before the pending change is looked at until `done`. */
byte held = NOBODY;
byte crashes = CRASHES, attacks = ATTACKS;
bool killed[3];

/* The ledger: of each version what became of it, by which line; how many lines there are, and are durable. */
byte state[CHANGES + 2], settled_by[CHANGES + 2], lines, durable, versions;

byte acknowledged;
bool ghost, lost, suspended;

/* Ledger.accepts */
inline judge(version, since)
{
    good = false;
    k = versions;
    do
    :: state[k] == UNDONE -> k--
    :: state[k] != UNDONE && version == k -> good = true; break
#ifdef ACCEPT_OLDER
    :: state[k] != UNDONE && version != k && k > 0 -> k--
    :: state[k] != UNDONE && version != k && k == 0 -> break
#else
#ifdef PENDING_REFUSED
    :: state[k] != UNDONE && version != k -> break
#else
    :: state[k] != UNDONE && version != k && (k == 0 || (state[k] == DONE && settled_by[k] <= since)) -> break
    :: state[k] != UNDONE && version != k && !(k == 0 || (state[k] == DONE && settled_by[k] <= since)) -> k--
#endif
#endif
    od;
#ifdef NO_LEDGER
    good = true;
#endif
    k = 0
}

/* Ledger.settle */
inline settle(version, what)
{
    lines++;
    state[version] = what;
    settled_by[version] = lines;
#ifndef DONE_NOT_DURABLE
    durable = lines
#else
    durable = (what == UNDONE -> lines : durable)
#endif
}

inline locked_out()
{
#if ATTACKS == 0
    suspended = true;
    assert(!suspended);
#endif
    goto given_up
}

proctype changer(byte me)
{
    byte since, version, k, settling;
    bool good;

end_idle:
    {
    atomic {
        lock == NOBODY -> lock = me;
        since = epoch;
        if
        :: versions < CHANGES
        :: settling = 1                         /* settle_facts */
        fi
    };
    /* Ledger.writing, then _settle_earlier */
    atomic { held == NOBODY -> held = me };
    if
    :: state[versions] == PENDING && versions > 0 ->
#ifndef SETTLE_UNFLUSHED
        /* What is said to be done must not be lost: the flush waits for the standby. */
        atomic {
            if
            :: since == epoch && on_standby == row
            :: since != epoch -> goto given_up
            fi
        };
#endif
        atomic {
            if
            :: since != epoch -> goto given_up
            :: else
            fi;
            if
            :: state[versions] == PENDING && versions > 0 ->
#ifdef SETTLE_BLIND
                settle(versions, DONE)
#else
                if
                :: row == versions -> settle(versions, DONE)
                :: row != versions ->
                    judge(row, lines);
                    if
                    :: good -> settle(versions, UNDONE)
                    :: !good -> locked_out()
                    fi
                fi
#endif
            :: else
            fi
        }
    :: else
    fi;
    atomic {                                    /* _check_before */
        if
        :: since != epoch || settling -> goto given_up
        :: else
        fi;
        judge(row, lines);
        if
        :: !good -> locked_out()
        :: good && versions == CHANGES -> goto given_up
        :: good && versions < CHANGES
        fi;
        versions++; version = versions;
        state[version] = PENDING;
#ifdef COMMIT_BEFORE_SET
        state[version] = UNDONE
#else
        lines++; durable = lines                /* set: in every copy, before the commit */
#endif
    };
    atomic {                                    /* COMMIT: on the disk, and not to be seen yet */
        if
        :: since == epoch -> on_disk = version
        :: since != epoch -> goto given_up
        fi
    };
    atomic {
        if
#ifdef ASYNC_STANDBY
        :: since == epoch
#else
        :: since == epoch && on_standby == version
#endif
            -> row = version; lock = (lock == me -> NOBODY : lock)
        :: since != epoch -> goto given_up
        fi;
    };
    atomic {                                    /* done */
        if
#ifdef COMMIT_BEFORE_SET
        :: true -> lines = lines + 2; state[version] = DONE; settled_by[version] = lines; durable = lines
#endif
        :: state[version] == PENDING -> settle(version, DONE)
        :: else
        fi;
        acknowledged = version;
#ifdef REACH
        assert(!(crashes == 0 && version == CHANGES));
#endif
    };
given_up:
    atomic {
        if
        :: lock == me && since == epoch -> lock = NOBODY
        :: else
        fi;
        held = (held == me -> NOBODY : held);
        since = 0; version = 0; settling = 0; good = false; goto end_idle
    }
    } unless {
        atomic {
            killed[me] ->
            killed[me] = false;
            held = (held == me -> NOBODY : held);
            since = 0; version = 0; settling = 0; good = false; k = 0;
            goto end_idle
        }
    }
}

active proctype reader()
{
    byte since, at_least, found, k;
    bool good;

end_idle:
    {
    atomic { since = lines; at_least = acknowledged };
    atomic { found = row };
    atomic {
        judge(found, since);
        if
        :: good ->
            ghost = found == FORGED || (state[found] == UNDONE && settled_by[found] <= since);
            lost = found < at_least;
            assert(!ghost);
            assert(!lost)
        :: else ->
#if ATTACKS == 0
            suspended = found == row;           /* else it has changed since, and is read again */
            assert(!suspended)
#else
            skip
#endif
        fi;
        since = 0; at_least = 0; found = 0; good = false;
        goto end_idle
    }
    } unless {
        atomic { killed[2] -> killed[2] = false; since = 0; at_least = 0; found = 0; good = false; goto end_idle }
    }
}

active proctype standby()
{
end:
    do
    :: atomic { on_standby != on_disk -> on_standby = on_disk }
    od
}

inline come_up_with(version)
{
    crashes--;
    epoch++;
    row = version;
    on_disk = version;
    lock = NOBODY;
#if ATTACKS == 0
    lost = row < acknowledged;
    assert(!lost)
#endif
}

active proctype faults()
{
end:
    do
    :: atomic { crashes > 0 -> come_up_with(on_disk) }
    :: atomic { crashes > 0 && on_standby != on_disk -> come_up_with(on_standby) }
    /* The session of a commit that waits is ended, or its wait cancelled: it is seen, and nobody was told. */
    :: atomic { crashes > 0 && on_disk != row -> crashes--; epoch++; row = on_disk; lock = NOBODY }
    /* kill -9; a commit that waits for the standby goes on without its client, and holds its lock. */
    :: atomic {
        crashes > 0 && lock < NOBODY ->
        crashes--;
        killed[lock] = true;
        if
        :: on_disk == row -> lock = NOBODY
        :: else -> lock = 3
        fi
    }
    :: atomic { lock == 3 && on_standby == on_disk -> row = on_disk; lock = NOBODY }
    /* Power of the host of the key store and of every process: what was not durable is gone. */
    :: atomic {
        crashes > 0 && durable < lines ->
        crashes--;
        killed[0] = true; killed[1] = true; killed[2] = true;
        lock = (on_disk == row -> NOBODY : 3);
        if
        :: state[versions] == DONE && settled_by[versions] > durable ->
            state[versions] = PENDING; settled_by[versions] = 0
        :: else
        fi;
        lines = durable
    }
    od
}

active proctype attacker()
{
    byte version;
end:
    do
    :: atomic {
        attacks > 0 && on_disk == row ->
        attacks--;
        select(version : 0 .. FORGED);
        row = version; on_disk = version;
        version = 0
    }
    od
}

init { atomic { state[0] = DONE; run changer(0); run changer(1) } }
