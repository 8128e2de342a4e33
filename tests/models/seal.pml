/*
 * Seal: the heads of all chains are signed, one seal after the other, and what was signed is never contradicted.
 *
 * Processes
 *   sealer    two that have seals made and store them (`journal.seals.sealer.Sealer._try_open`, `_make`), each in a
 *             session with the signer, which has one at a time, and ends that of a client that lets it wait
 *             (`journal.signer`: `server`, `session`, `memory`, `judge`)
 *   append    entries of one chain
 *   standby   the write-ahead log that reaches the standby
 *   faults    the primary crashes, or the standby takes over; a session of the signer is ended; its host loses its
 *             power; a sealer is killed; CRASHES in all
 *
 * There is one chain. An entry's leaf is the epoch of its append, so that what was lost and recorded again is another
 * one. A seal's text is told apart by when it was proposed; what it says of the chain is a size and its last leaf.
 *
 * Properties
 *   contradicted  a head that is signed contains all that was signed before
 *   stuck         the signer knows the last stored seal: no crash and no race stops the sealing
 *   held          it refuses no head: what the database has follows from what was signed
 *
 * Left out: several chains (each is judged by itself), rules and bases (`Judge._refuse_rule`, `_excused`), close seals
 * (purge.pml; `put_seal` refuses an open seal while one is due, under one lock), time-stamps, thinning, a new signing
 * key, declared losses; clocks, which must agree.
 */
#ifndef ENTRIES
#define ENTRIES 3
#endif
#ifndef CRASHES
#define CRASHES 2
#endif
#ifndef PROPOSALS
#define PROPOSALS 3
#endif
#define NOBODY 2
#if defined(LOSSY) || defined(ASYNC_STANDBY)
#define DURABLE(n, m) true
#else
#define DURABLE(n, m) (on_standby >= n && seals_on_standby >= m)
#endif

/* The database: entries and stored seals, and how many of each the standby has. */
byte leaf[ENTRIES], size, seals, stored[PROPOSALS + 1], epoch, on_standby, seals_on_standby;
byte crashes = CRASHES;

/* The signer: the last seal that it knows to be stored, the texts that may be, the last signed head. */
byte session = NOBODY, known, known_text, good, good_leaf, proposals;
bool pending[PROPOSALS + 1], killed[2];
/* What its disk has of it, to which `done` comes later. */
byte disk_known, disk_text;
bool disk_pending[PROPOSALS + 1];

byte signed_leaf[ENTRIES], signed_size;
bool contradicted, stuck, held;

inline note_stored(n, what)
{
    known = n;
    known_text = what;
    for (i : 0 .. PROPOSALS) { pending[i] = false };
    i = 0
}

inline leave()
{
    session = (session == me -> NOBODY : session);
    since = 0; number = 0; text = 0; size_seen = 0; made = 0; i = 0
}

proctype sealer(byte me)
{
    byte since, number, text, size_seen, made, i;

end_idle:
    {
    atomic {
        session == NOBODY && proposals < PROPOSALS -> session = me;
        since = epoch; number = seals; text = (seals == 0 -> 0 : stored[seals]); size_seen = size   /* seal_state */
    };
#ifndef UNFLUSHED
    if
    :: since == epoch && DURABLE(size_seen, number)
    :: since != epoch -> goto given_up
    fi;
#endif
    atomic {                                    /* Session.compare, then propose */
        if
        :: session != me -> goto given_up
        :: else
        fi;
        if
        :: text != 0 && pending[text] -> note_stored(number, text)
        :: else
        fi;
        if
        :: number != known || text != known_text ->
#ifndef LOSSY
            stuck = true;
            assert(!stuck);
#endif
            goto given_up
        :: else
        fi;
        /* Judge: it follows from the last signed head. Its leaves are read from the database as it is now. */
        if
        :: size_seen < good || (good > 0 && (size < good || leaf[good - 1] != good_leaf)) ->
#ifndef LOSSY
            held = true;
            assert(!held);
#endif
#ifndef NO_FLOOR
            goto given_up                       /* the last signed head is signed again: nothing new */
#endif
        :: size_seen > size -> goto given_up    /* it does not lead to its head */
        :: else
        fi;
        if
        :: proposals == PROPOSALS -> goto given_up
        :: else -> proposals++
        fi;
        made = proposals;
#ifdef LAST_PENDING_ONLY
        for (i : 0 .. PROPOSALS) { pending[i] = false };
#endif
        pending[made] = true;
        good = size_seen; good_leaf = (size_seen > 0 -> leaf[size_seen - 1] : 0);
#ifndef SIGN_NOT_DURABLE
        /* Memory.sign is durable before the signature leaves the process. */
        disk_known = known; disk_text = known_text;
        for (i : 0 .. PROPOSALS) { disk_pending[i] = pending[i] };
#endif
        for (i : 0 .. ENTRIES - 1) {
            contradicted = contradicted || (i < signed_size && (i >= size_seen || signed_leaf[i] != leaf[i]))
        };
        assert(!contradicted);
        for (i : 0 .. ENTRIES - 1) {
            signed_leaf[i] = (i < size_seen -> leaf[i] : signed_leaf[i])
        };
        i = 0;
        signed_size = size_seen
    };
    atomic {                                    /* put_seal; whose connection is new if the old one has ended */
        if
#ifndef NO_CAS
        :: seals != number -> goto given_up     /* another sealer was faster: again */
#endif
        :: else ->
            seals = number + 1; stored[seals] = made; since = epoch;
            seals_on_standby = (seals_on_standby > number -> number : seals_on_standby)
        fi
    };
    if
    :: since == epoch && DURABLE(0, number + 1)
    :: since != epoch -> goto given_up
    fi;
    atomic {                                    /* Session.done */
        if
        :: session == me && pending[made] -> note_stored(number + 1, made)
        :: else
        fi;
#ifdef REACH
        assert(!(crashes == 0 && number + 1 == PROPOSALS - 1));
#endif
    };
given_up:
    atomic { leave(); goto end_idle }
    } unless {
        atomic { killed[me] -> killed[me] = false; leave(); goto end_idle }
    }
}

active proctype append()
{
end:
    do
    :: atomic { size < ENTRIES -> leaf[size] = epoch + 1; size++ }
    od
}

active proctype standby()
{
end:
    do
    :: atomic { on_standby < size -> on_standby++ }
    :: atomic { seals_on_standby < seals -> on_standby = size; seals_on_standby = seals }
    od
}

active proctype faults()
{
    byte i;
end:
    do
    :: d_step {                                 /* the standby takes over */
        crashes > 0 && (on_standby < size || seals_on_standby < seals) ->
        crashes--;
        epoch++;
        for (i : on_standby .. ENTRIES - 1) { leaf[i] = 0 };
        for (i : seals_on_standby + 1 .. PROPOSALS) { stored[i] = 0 };
        i = 0;
        size = on_standby;
        seals = seals_on_standby
    }
    :: d_step { crashes > 0 -> crashes--; epoch++ }     /* the primary starts again with all that is on its disk */
    :: d_step { crashes > 0 && session != NOBODY -> crashes--; session = NOBODY }
    :: d_step {                                 /* the signer's host starts again */
        crashes > 0 ->
        crashes--;
        session = NOBODY;
        known = disk_known; known_text = disk_text;
        for (i : 0 .. PROPOSALS) { pending[i] = disk_pending[i] };
        i = 0
    }
    :: d_step { crashes > 0 && session != NOBODY -> crashes--; killed[session] = true }
    od
}

init { atomic { run sealer(0); run sealer(1) } }
