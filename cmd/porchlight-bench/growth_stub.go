package main
import "context"
func growthSize(ctx context.Context, s setting) ([]figure, error) {return nil,nil}
func growthServe(ctx context.Context, s setting) ([]figure, error) {return nil,nil}
