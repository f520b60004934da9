// Command coredns answers for the cluster's own names and for nothing else: it has the plugins that the lab's Corefile
// names, where the usual build links dozens and the SDKs of three clouds.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/ready"
)

func main() {
	// The order in which a query passes the plugins, whatever the order in the Corefile.
	dnsserver.Directives = []string{"bind", "health", "ready", "errors", "cache", "loadbalance", "kubernetes"}
	coremain.Run()
}
