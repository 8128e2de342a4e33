/*
 * Purge: a day is closed, sealed, handed over, fenced, dropped, and its key destroyed, in this order.
 *
 * Processes
 *   append    an entry of the day, in a transaction that takes time (`journal.append`: fence and closed day are read
 *             under the lock of days, held shared)
 *   sealer    closes the day and stores its close seal (`journal.close_day`, `closed_heads`, `put_seal`)
 *   handover  hands the day over (`retention.handover`), or its limit comes first
 *   purger    the steps of `retention.purge_steps`, from the first one again after every end (`retention.purge`); a
 *             second one is kept out by a lock that ends with its process (`KeyStore.destroying`)
 *   maker     makes the day's key, in both copies, if it is not fenced, and looks again (`KeyStore.make_day_key`)
 *   standby   the write-ahead log that reaches the standby
 *   faults    the primary crashes, or the standby takes over; the purger is killed; CRASHES in all
 *
 * One category, one day that is due; a key store of two copies, each file of which is written or destroyed by itself.
 *
 * Properties
 *   unsealed   no copy of the key is destroyed before the close seal is where a failover cannot lose it
 *   unhanded   nor before the day was handed over, or its limit came
 *   unfenced   nor before the key store refuses it
 *   uncovered  no entry is added to a day after its heads were taken for the close seal
 *   readable   a purge that is complete leaves no rows and no key in any copy, and none comes to stay
 *
 * Left out: several days (a day that stays keeps the later ones: `Choice`), rules that change, the bases of the chains and
 * the entries that record the purge, restored backups (`again`, `forgotten`), slices of a day; a maker that is killed
 * before it looks again (the next run finds the key, and destroys it: `Purger.due`).
 */
#ifndef CRASHES
#define CRASHES 2
#endif
#define DURABLE (sb_sealed == sealed && sb_handed == handed && sb_fenced == fenced && sb_rows == rows)

bool closed, sealed, handed, fenced, rows, limit, heads_taken;
bool sb_closed, sb_sealed, sb_handed, sb_fenced, sb_rows;
byte epoch, crashes = CRASHES, appending;
bool key[2] = true, key_fence[2], killed, complete, making;
bool unsealed, unhanded, unfenced, uncovered, readable;

inline destroy(copy)
{
    unsealed = unsealed || (key[copy] && !(sealed && sb_sealed));
    unhanded = unhanded || (key[copy] && !(limit || (handed && sb_handed)));
    unfenced = unfenced || (key[copy] && !(key_fence[0] || key_fence[1]));
    assert(!unsealed); assert(!unhanded); assert(!unfenced);
    key[copy] = false
}

inline look()
{
    readable = complete && (rows || (!making && (key[0] || key[1])));
    assert(!readable)
}

active proctype append()
{
    byte since;
end:
    do
    :: atomic {
        !closed && !fenced && !rows -> since = epoch;
#ifndef NO_LOCK
        appending++
#endif
    };
    atomic {
        if
        :: since == epoch ->
            rows = true;
            uncovered = uncovered || heads_taken;
            assert(!uncovered);
#ifndef NO_LOCK
            appending--
#endif
        :: since != epoch                       /* the transaction ended with its connection */
        fi;
        since = 0
    }
    od
}

active proctype sealer()
{
    byte since;
end:
    do
    :: atomic { !sealed && appending == 0 -> closed = true; since = epoch };
    if
    :: atomic { since == epoch && DURABLE && sb_closed == closed -> heads_taken = true };   /* flush */
        if
        :: atomic { since == epoch -> sealed = true }   /* put_seal */
        :: since != epoch
        fi
    :: since != epoch
    fi;
    since = 0
    od
}

active proctype handover()
{
end:
    do
    :: atomic { sealed && !handed && !fenced -> handed = true }
    :: atomic { sealed && !limit -> limit = true }
    od
}

active proctype purger()
{
    byte since;
end_idle:
    {
    atomic { closed && !complete -> since = epoch };
#ifdef KEY_BEFORE_SEAL
    skip;
#else
    if
    :: sealed                                   /* CHECK_SEAL */
    :: !sealed -> goto again
    fi;
#endif
#ifndef KEY_BEFORE_HANDOVER
    if
    :: handed || limit || fenced                /* HAND_OVER; what is begun does not wait */
    :: !handed && !limit && !fenced -> goto again
    fi;
#endif
    atomic {                                    /* FENCE_DATABASE: waits for appends; writes, whatever it finds */
        if
        :: since == epoch && appending == 0 -> fenced = true
        :: since != epoch -> goto again
        fi
    };
#ifndef NO_BARRIER
    if
    :: since == epoch && DURABLE
    :: since != epoch -> goto again
    fi;
#endif
#ifndef KEY_BEFORE_FENCE
    key_fence[0] = true;                        /* FENCE_KEYS */
    key_fence[1] = true;
#endif
#ifdef KEY_BEFORE_SEAL
    atomic { destroy(0) };
#endif
    atomic {                                    /* DROP_ROWS: the function looks for the fence and the seal itself */
        if
        :: since == epoch && fenced && sealed -> rows = false
        :: since != epoch || !fenced || !sealed -> goto again
        fi
    };
    if
    :: since == epoch && DURABLE
    :: since != epoch -> goto again
    fi;
    atomic { destroy(0) };                      /* SHRED_KEY */
    atomic { destroy(1) };
    atomic {                                    /* MOVE_BASE: refused while rows are there */
        if
        :: since == epoch && !rows -> complete = true; look()
        :: since != epoch || rows -> goto again
        fi;
#ifdef REACH
        assert(crashes > 0);
#endif
    };
again:
    atomic { since = 0; goto end_idle }
    } unless {
        atomic { killed -> killed = false; since = 0; goto end_idle }
    }
}

active proctype maker()
{
end:
    do
    :: atomic { !key_fence[0] && !key_fence[1] -> making = true };
    key[0] = true;
    key[1] = true;
    atomic {
#ifndef NO_SECOND_LOOK
        if
        :: key_fence[0] || key_fence[1] -> destroy(0); destroy(1)
        :: else
        fi;
#endif
        making = false;
        look()
    }
    od
}

active proctype standby()
{
end:
    do
    :: atomic {
        !DURABLE || sb_closed != closed ->
        sb_closed = closed; sb_sealed = sealed; sb_handed = handed; sb_fenced = fenced; sb_rows = rows
    }
    od
}

active proctype faults()
{
end:
    do
    :: d_step { crashes > 0 -> crashes--; epoch++; appending = 0 }
    :: d_step {
        crashes > 0 && (!DURABLE || sb_closed != closed) ->
        crashes--;
        epoch++;
        appending = 0;
        heads_taken = heads_taken && sb_closed;
        closed = sb_closed; sealed = sb_sealed; handed = sb_handed; fenced = sb_fenced; rows = sb_rows
    }
    :: d_step { crashes > 0 -> crashes--; killed = true }
    od
}
