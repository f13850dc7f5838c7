# What the machine with the old kernel does. `record NAME COMMAND` keeps what a command prints and how it ends.
#
# The host has `gate0`, behind which is the namespace `abroad` with addresses of several countries: 8.8.8.8 and
# 2600:1f18::1 of the US, 202.175.3.3 of Macau, which alone is allowed. What `abroad` sends is judged, what
# the host answers is not. The shell would take its own ip and tc, so those of iproute2 go by their paths.
abroad="/bin/ip netns exec abroad"
from() { $abroad ping -c "$1" -i 0.2 -W "$2" -I "$3" "$4"; }
start_daemon() {
    cerco run &
    daemon=$!
    within 30 cerco status || exit 1
}
# within SECONDS COMMAND: until it succeeds.
within() {
    tries=$(($1 * 5))
    shift
    until "$@" > /tmp/within 2>&1; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || { echo "never: $*"; cat /tmp/within; return 1; }
        sleep 0.2
    done
}
/bin/ip link set lo up
/bin/ip netns add abroad
/bin/ip link add gate0 type veth peer name far netns abroad
/bin/ip link set gate0 up
/bin/ip addr add 192.0.2.1/24 dev gate0
/bin/ip addr add 2001:db8::1/64 dev gate0 nodad
/bin/ip route add default via 192.0.2.9
/bin/ip -6 route add default via 2001:db8::9
/bin/ip -n abroad link set far up
for address in 192.0.2.9/24 8.8.8.8/32 202.175.3.3/32; do /bin/ip -n abroad addr add $address dev far; done
for address in 2001:db8::9/64 2600:1f18::1/128; do /bin/ip -n abroad addr add $address dev far nodad; done
/bin/ip link add link gate0 name gate0.5 type vlan id 5
/bin/ip link set gate0.5 up
/bin/ip addr add 203.0.113.1/24 dev gate0.5
/bin/ip -n abroad link add link far name far.5 type vlan id 5
/bin/ip -n abroad link set far.5 up
/bin/ip -n abroad addr add 203.0.113.9/24 dev far.5
cat > /etc/cerco/cerco.toml << END
interfaces = ["gate0"]
[policy]
default = "deny"
[policy.countries]
MO = "allow"
END

record kernel uname -r
start_daemon
record stands cerco status --json
record tracker_in /bin/tc -j filter show dev gate0 ingress
record tracker_out /bin/tc -j filter show dev gate0 egress

record observe_us from 2 5 8.8.8.8 192.0.2.1
record observe_us6 from 1 5 2600:1f18::1 2001:db8::1
record observe_mo from 1 5 202.175.3.3 192.0.2.1
record observed cerco status --json

record enforce cerco enforce --yes
record enforce_us from 2 1 8.8.8.8 192.0.2.1
record enforce_us6 from 1 1 2600:1f18::1 2001:db8::1
record enforce_mo from 1 5 202.175.3.3 192.0.2.1
record own_to_us ping -c 2 -i 0.2 -W 5 8.8.8.8
record enforced cerco status --json
record vlan_us from 3 1 8.8.8.8 203.0.113.1
record vlan cerco status --json
# The daemon reads them some times a second.
nine() { [ "$(cerco events | wc -l)" -ge 9 ]; }
within 10 nine
record events cerco events --json
record doctor cerco doctor --json

record trial cerco deny MO --confirm 8s
record trial_mo from 1 1 202.175.3.3 192.0.2.1
kill -9 $daemon
wait $daemon
record dead cerco status --json
record dead_us from 1 1 8.8.8.8 192.0.2.1
# In whole seconds, rounded down.
over() { cerco status --json | grep -q '"remaining_seconds": 0'; }
record over within 30 over
sleep 1
record undone_mo from 1 5 202.175.3.3 192.0.2.1
record undone_us from 1 1 8.8.8.8 192.0.2.1
record before cerco status --json

start_daemon
record restarted_us from 1 1 8.8.8.8 192.0.2.1
record restarted cerco status --json
kill $daemon
wait $daemon
record detach cerco detach --force
record detached_us from 1 5 8.8.8.8 192.0.2.1
record detached cerco status
record link /bin/ip -j link show gate0
record filters_in /bin/tc -j filter show dev gate0 ingress
record filters_out /bin/tc -j filter show dev gate0 egress
record pins find /sys/fs/bpf -mindepth 1

# What the kernel of the other tests lacks: a bond of two cables. dummy0 came with its module.
/bin/ip link add trunk0 type bond mode balance-rr miimon 100
/bin/ip -n abroad link add trunk0 type bond mode balance-rr miimon 100
for leg in leg1 leg2; do
    /bin/ip link add $leg type veth peer name $leg netns abroad
    /bin/ip link set $leg master trunk0
    /bin/ip -n abroad link set $leg master trunk0
done
/bin/ip link set trunk0 up
/bin/ip -n abroad link set trunk0 up
/bin/ip addr add 198.51.100.1/24 dev trunk0
/bin/ip -n abroad addr add 198.51.100.9/24 dev trunk0
/bin/ip link set dummy0 up
within 30 from 1 1 8.8.8.8 198.51.100.1
# record_bond ATTACH: a gate on the bond that begins anew.
record_bond() {
    rm -r /var/lib/cerco/*
    cat > /etc/cerco/cerco.toml << END
interfaces = ["trunk0", "dummy0"]
mode = "enforce"
attach = "$1"
[policy]
default = "deny"
[policy.countries]
MO = "allow"
END
    start_daemon
    record bond_us_$1 from 4 1 8.8.8.8 198.51.100.1
    record bond_mo_$1 from 2 5 202.175.3.3 198.51.100.1
    record bond_$1 cerco status --json
    four() { [ "$(cerco events | wc -l)" -ge 4 ]; }
    within 10 four
    record bond_events_$1 cerco events --json
    record doctor_$1 cerco doctor --json
    kill $daemon
    wait $daemon
    cerco detach --force
}
record_bond auto
record_bond generic
