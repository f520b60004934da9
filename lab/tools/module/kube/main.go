// Command kube is all of Kubernetes that the lab runs, as one binary that takes its role from the name it is called by:
// linked once, the five programs share their code on disk and in the page cache.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	// Time zones for CronJobs, on machines without tzdata.
	_ "time/tzdata"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	manager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	switch role := filepath.Base(os.Args[0]); role {
	case "kube-apiserver":
		serve(apiserver.NewAPIServerCommand())
	case "kube-controller-manager":
		serve(manager.NewControllerManagerCommand())
	case "kube-scheduler":
		serve(scheduler.NewSchedulerCommand())
	case "kube-proxy":
		serve(proxy.NewProxyCommand())
	case "kubelet":
		serve(kubelet.NewKubeletCommand(context.Background()))
	default:
		fmt.Fprintf(os.Stderr, "%s is no part of Kubernetes: call this binary through a link named after a component\n", role)
		os.Exit(2)
	}
}

func serve(component *cobra.Command) { os.Exit(cli.Run(component)) }
